"""Pages to look at: one HTML file of a run, a validation or a study, made from what lies in its folder."""
