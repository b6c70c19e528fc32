// The mask, in one place. Query t is at position start_b + t of its text.

struct Row { length: u32, offset: u32, start: u32 }

fn row_of(b: u32) -> Row {
    return Row(rows[3u * b], rows[3u * b + 1u], rows[3u * b + 2u]);
}

// Does query position t (start included) see key j? Text keys come first, image keys after them.
fn visible(row: Row, t: u32, j: u32) -> bool {
    if j < p.text {
        return p.causal == 0u || (j <= t && j < row.length);
    }
    return t >= row.offset;
}

// A score that no real score reaches; its exponential is zero.
const MASKED = -1e30;
