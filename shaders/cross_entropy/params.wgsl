struct Params {
    rows: u32, // rows of logits
    cols: u32, // columns of this chunk of the vocabulary
    row0: u32, // first row of the chunk in targets, state and losses
    vocab0: u32, // first word of the chunk
    first: u32, // 1: this chunk begins the vocabulary
    total: u32, // all rows
}
