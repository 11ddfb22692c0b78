"""Studies: arms × seeds under one recipe, and what their figures can show."""
