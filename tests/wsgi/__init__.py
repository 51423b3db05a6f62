"""lomond.wsgi inside the WSGI servers that people use, each in a process of its own."""
