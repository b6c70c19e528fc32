// sample/choose: the next token by penalty, temperature and filters, and the step to the next position. See docs/MATH.md#sample.
//
//   z: logits, divided by the penalty (multiplied where negative) for tokens of the history
//   temperature 0: the largest z, the lowest id among equals
//   else the largest z / temperature + g over the tokens that pass, g = -log(-log u), u from seed, position and token
//
// | @ | name     | access  | type       | shape |
// |---|----------|---------|------------|--------|
// | 0 | p        | uniform | Params     | |
// | 1 | settings | read    | array<u32> | (8): temperature, top_k, top_p, min_p, penalty, seed low, seed high, unused |
// | 2 | logits   | update  | array<f32> | (V) |
// | 3 | tokens   | update  | array<u32> | (room), by position |
// | 4 | rows     | update  | array<u32> | (3): length, offset, start |
// | 5 | id       | write   | array<u32> | (1): the token to feed next |
// | 6 | chosen   | write   | array<f32> | (room): probability of the token before filters, by position |
//
// grid: one workgroup.   overrides: WG
#import params
#import reduce

override WG: u32 = 256u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> settings: array<u32>;
@group(0) @binding(2) var<storage, read_write> logits: array<f32>;
@group(0) @binding(3) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(4) var<storage, read_write> rows: array<u32>;
@group(0) @binding(5) var<storage, read_write> id: array<u32>;
@group(0) @binding(6) var<storage, read_write> chosen: array<f32>;

const LEAST = -3.0e38;

// Whole numbers in the order of floats.
fn order(v: f32) -> u32 {
    let bits = bitcast<u32>(v);
    return select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
}

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

// The noise of a token at a position.
fn gumbel(position: u32, token: u32) -> f32 {
    let h = hash(hash(settings[5], settings[6], position), token, 0x68bc21ebu);
    let u = (f32(h >> 8u) + 0.5) / 16777216.0;
    return -log(-log(u));
}

// Tokens of the history count once, by their first place.
fn penalise(penalty: f32, length: u32, lane: u32) {
    for (var j = lane; j < length; j += WG) {
        let token = tokens[j];
        var first = token < p.vocab;
        for (var k = 0u; k < j && first; k++) {
            first = tokens[k] != token;
        }
        if first {
            let z = logits[token];
            logits[token] = select(z / penalty, z * penalty, z < 0.0);
        }
    }
}

// Tokens whose order is at least `least`.
fn count(least: u32, lane: u32) -> f32 {
    var n = 0.0;
    for (var i = lane; i < p.vocab; i += WG) {
        n += select(0.0, 1.0, order(logits[i]) >= least);
    }
    return reduce_sum(n, lane);
}

// Their share of exp((z - top) / temperature).
fn mass(least: u32, top: f32, inverse: f32, lane: u32) -> f32 {
    var sum = 0.0;
    for (var i = lane; i < p.vocab; i += WG) {
        let z = logits[i];
        sum += select(0.0, exp((z - top) * inverse), order(z) >= least);
    }
    return reduce_sum(sum, lane);
}

// The largest order that so many tokens reach.
fn by_count(wanted: f32, lane: u32) -> u32 {
    var least = 0u;
    for (var bit = 0u; bit < 32u; bit++) {
        let next = least | (0x80000000u >> bit);
        least = select(least, next, count(next, lane) >= wanted);
    }
    return least;
}

// The largest order whose tokens have at least this share of the mass of those from `floor` on.
fn by_mass(share: f32, floor: u32, top: f32, inverse: f32, lane: u32) -> u32 {
    let wanted = share * mass(floor, top, inverse, lane);
    var least = floor;
    var found = 0u;
    for (var bit = 0u; bit < 32u; bit++) {
        let next = found | (0x80000000u >> bit);
        let enough = mass(max(next, floor), top, inverse, lane) >= wanted;
        found = select(found, next, enough);
    }
    least = max(found, floor);
    return least;
}

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) lane: u32) {
    let temperature = bitcast<f32>(settings[0]);
    let top_k = settings[1];
    let top_p = bitcast<f32>(settings[2]);
    let min_p = bitcast<f32>(settings[3]);
    let penalty = bitcast<f32>(settings[4]);
    let length = min(rows[0], p.room - 1u);
    if penalty != 1.0 {
        penalise(penalty, length, lane);
    }
    storageBarrier();
    workgroupBarrier();

    var high = LEAST;
    var best = p.vocab;
    for (var i = lane; i < p.vocab; i += WG) {
        let z = logits[i];
        if z > high {
            high = z;
            best = i;
        }
    }
    let top = reduce_max(high, lane);
    var exps = 0.0;
    for (var i = lane; i < p.vocab; i += WG) {
        exps += exp(logits[i] - top);
    }
    let total = reduce_sum(exps, lane);

    if temperature > 0.0 {
        let inverse = 1.0 / temperature;
        var least = 0u;
        if top_k > 0u && top_k < p.vocab {
            least = by_count(f32(top_k), lane);
        }
        if top_p < 1.0 {
            least = by_mass(top_p, least, top, inverse, lane);
        }
        let low = select(LEAST, log(min_p) * temperature + top, min_p > 0.0);
        high = LEAST;
        best = p.vocab;
        for (var i = lane; i < p.vocab; i += WG) {
            let z = logits[i];
            let score = (z - top) * inverse + gumbel(length, i);
            if order(z) >= least && z >= low && score > high {
                high = score;
                best = i;
            }
        }
    }
    let most = reduce_max(high, lane);
    // The lowest id among equals. Ids are small enough to be exact as floats.
    let lowest = -reduce_max(select(-f32(p.vocab), -f32(best), high == most && best < p.vocab), lane);
    if lane == 0u {
        let token = select(0u, u32(lowest), lowest < f32(p.vocab));
        id[0] = token;
        tokens[length] = token;
        chosen[length] = exp(logits[token] - top) / total;
        rows[0] = length + 1u;
        rows[2] = rows[2] + 1u;
    }
}
