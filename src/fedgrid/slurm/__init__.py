"""What a cell's job asks of a cluster. Imports `grid` and what lies below it."""
