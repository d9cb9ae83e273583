"""Requirements, measurements, and how memory, processor time and response times are measured."""
