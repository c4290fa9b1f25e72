//! Compiled rows against what the filters say, value by value.
