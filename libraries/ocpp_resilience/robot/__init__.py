"""The interface to Robot Framework: the libraries' base class, the registry of libraries, variables and the console."""
