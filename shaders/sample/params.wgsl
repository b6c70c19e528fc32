struct Params {
    vocab: u32, // V
    room: u32, // tokens that the history holds
}
