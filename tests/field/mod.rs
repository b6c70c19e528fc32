//! Situations that real people met: other programs' files, odd pictures, lists by hand, weak networks, killed processes. A file a
//! subject; inputs that cannot be made in a few lines are in `data/`.

mod devices;
mod fetch;
mod kills;
mod lists;
mod models;
mod numbers;
mod pictures;
mod places;
mod runs;
mod saving;
mod session;
mod sizes;
mod words;
