//! Links that restore the app's state: `#preset=pictures&seed=3&hide=recipe`, the same text in a URL's hash and as an
//! argument of `hive app`.

/// What a link says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Preset to open.
    pub preset: Option<String>,
    /// Seed.
    pub seed: Option<u64>,
    /// Names of hidden controls.
    pub hide: Vec<String>,
}
