struct Params {
    chunks: u32, // chunks of this slab
    first: u32, // index of its first chunk among all partials
    partials: u32, // all partials
    max_norm: f32, // clipping threshold; 0: none
}
