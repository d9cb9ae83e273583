"""What touches Robot Framework: the libraries' base class, the registry of libraries, variables and the console."""
