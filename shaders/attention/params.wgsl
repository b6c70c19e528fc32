struct Params {
    batch: u32, // B
    queries: u32, // Tq, query rows per sample
    text: u32, // T, text keys per sample
    image: u32, // N, image keys per sample, after the text keys
    heads: u32, // H
    groups: u32, // G key-value heads; H is a multiple of G
    causal: u32, // 1: text key j is seen by query t if j <= t and j < length; 0: always
    width: u32, // D
    scale: f32, // 1 / sqrt(D)
}
