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

// Text keys that some query of the tile from `first` on may see (where queries start at zero): those up to its last query.
// This comes from no buffer, so that a compiler knows it to be the same for all lanes.
fn seen_text(first: u32) -> u32 {
    return select(p.text, min(first + WG, p.text), p.causal == 1u && p.queries == p.text);
}

// A score that no real score reaches; its exponential is zero.
const MASKED = -1e30;

// The same for four keys.
fn visible4(row: Row, t: u32, j: vec4<u32>) -> vec4<bool> {
    let text = vec4(p.causal == 0u) | ((j <= vec4(t)) & (j < vec4(row.length)));
    return select(vec4(t >= row.offset), text, j < vec4(p.text));
}

// The same for four queries, by their rows.
fn visible_to4(row: Row, t: vec4<u32>, j: u32) -> vec4<bool> {
    if j < p.text {
        return vec4(p.causal == 0u) | ((vec4(j) <= t + row.start) & vec4(j < row.length));
    }
    return t + row.start >= vec4(row.offset);
}

// The key that is number n of the first `text` text keys and all image keys.
fn key_of(n: u32, text: u32) -> u32 {
    return select(n + (p.text - text), n, n < text);
}

// Which of keys number n to n + 3 of these the query at position t sees.
fn sees(row: Row, t: u32, n: u32, text: u32) -> vec4<bool> {
    let n4 = vec4(n) + vec4(0u, 1u, 2u, 3u);
    let j = select(n4 + (p.text - text), n4, n4 < vec4(text));
    return (n4 < vec4(text + p.image)) & visible4(row, t, j);
}
