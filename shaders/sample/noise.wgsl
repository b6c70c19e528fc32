// Noise from a counter, so that a choice can be made again.

// A good hash of three words (Wang's and Jenkins' finalisers).
fn hash(a: u32, b: u32, c: u32) -> u32 {
    var h = a ^ 0x9e3779b9u;
    h = (h ^ b) * 0x85ebca6bu;
    h ^= h >> 13u;
    h = (h ^ c) * 0xc2b2ae35u;
    h ^= h >> 16u;
    h *= 0x7feb352du;
    h ^= h >> 15u;
    h *= 0x846ca68bu;
    return h ^ (h >> 16u);
}

// Gumbel noise of a token at a position: -log e, where e = -log(1 - u) has an exponential distribution. Logarithms near one are
// inexact, and it is the small e that win: there a series.
fn gumbel(position: u32, token: u32) -> f32 {
    let h = hash(hash(settings[5], settings[6], position), token, 0x68bc21ebu);
    let u = (f32(h >> 9u) + 0.5) / 8388608.0;
    let e = select(-log(1.0 - u), u * (1.0 + u * (0.5 + u / 3.0)), u < 0.01);
    return -log(e);
}
