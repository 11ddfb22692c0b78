"""Published attention and convolution modules, written anew from their papers' formulas, with the constructors that
their authors gave them, and nothing of this project in them: what a reader of a tutorial pastes."""
