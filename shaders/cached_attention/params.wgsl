struct Params {
    heads: u32, // H
    groups: u32, // G
    width: u32, // D / 4
    text: u32, // text rows of the cache
    image: u32, // image rows after them
    splits: u32, // parts of the keys
    scale: f32, // 1 / sqrt(D)
    eps: f32, // of the norm of queries and keys
}
