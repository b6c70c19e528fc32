struct Params {
    count: u32, // elements
    decay: f32, // weight decay
    beta1: f32, // of the first moment
    beta2: f32, // of the second moment
    eps: f32, // added to the root of the second moment
}
