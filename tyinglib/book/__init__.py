"""What the chapters of the book share; not a part of the installed library."""
