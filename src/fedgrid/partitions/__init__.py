"""Who holds which examples. Imports nothing of fedgrid."""
