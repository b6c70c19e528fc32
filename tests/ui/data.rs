//! See the panel of that name.
