"""The chapters' own figures, a file a chapter; what several chapters draw is in ``tyinglib.book.plots``.

A function takes what was measured and returns the figure; a cell shows it with ``plt.show()``. A function that is given
a figure draws a frame of an interactive one, and returns its alternative text.
"""
