struct Params {
    vocab: u32, // V
    room: u32, // places for tokens
    fault: u32, // bits of a NaN: the probability of a choice among logits that are no numbers
}
