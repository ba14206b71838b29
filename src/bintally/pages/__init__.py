"""What every page for a person shares: layout, pictures and plots, all inside the one HTML file."""
