struct Params {
    m: u32, // rows of y
    n: u32, // columns of y
    k: u32, // length of the inner sum
}
