// sample/choose: the next token by penalty, temperature and filters, and the step to the next position. See docs/MATH.md#sample.
//
//   z: logits, divided by the penalty (multiplied where negative) for tokens of the history
//   temperature 0: the largest z, the lowest id among equals
//   else the largest z / temperature + g over the tokens that pass, g = -log(-log u), u from seed, position and token
//
// Token i belongs to lane i % WG: no other lane touches its logit and its weight.
//
// | @ | name     | access  | type       | shape |
// |---|----------|---------|------------|--------|
// | 0 | p        | uniform | Params     | |
// | 1 | settings | read    | array<u32> | (8): temperature, top_k, top_p, min_p, penalty, seed low, seed high, unused |
// | 2 | logits   | update  | array<f32> | (V) |
// | 3 | tokens   | update  | array<u32> | (room), by position |
// | 4 | rows     | update  | array<u32> | (3): length, offset, start |
// | 5 | weights  | update  | array<f32> | (V): exp((z - max z) / temperature) |
// | 6 | id       | write   | array<u32> | (1): the token to feed next |
// | 7 | chosen   | write   | array<f32> | (room): probability of the token before filters, by position |
//
// grid: one workgroup.   overrides: WG
#import params
#import reduce
#import noise

override WG: u32 = 256u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> settings: array<u32>;
@group(0) @binding(2) var<storage, read_write> logits: array<f32>;
@group(0) @binding(3) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(4) var<storage, read_write> rows: array<u32>;
@group(0) @binding(5) var<storage, read_write> weights: array<f32>;
@group(0) @binding(6) var<storage, read_write> id: array<u32>;
@group(0) @binding(7) var<storage, read_write> chosen: array<f32>;

// Below every logit.
const LEAST = -3.0e38;

// Four tokens of a lane: loads that do not wait for each other.
fn four(i: u32) -> vec4<u32> {
    return vec4(i, i + WG, i + 2u * WG, i + 3u * WG);
}

fn logits_at(at: vec4<u32>) -> vec4<f32> {
    let i = min(at, vec4(p.vocab - 1u));
    return select(vec4(LEAST), vec4(logits[i.x], logits[i.y], logits[i.z], logits[i.w]), at < vec4(p.vocab));
}

fn weights_at(at: vec4<u32>) -> vec4<f32> {
    let i = min(at, vec4(p.vocab - 1u));
    return select(vec4<f32>(), vec4(weights[i.x], weights[i.y], weights[i.z], weights[i.w]), at < vec4(p.vocab));
}

// Tokens of the history count once, however often they occurred: all are computed before any is replaced.
fn penalise(penalty: f32, length: u32, lane: u32) {
    for (var j = 0u; j < length; j++) {
        let token = tokens[j];
        if token < p.vocab && token % WG == lane {
            let z = logits[token];
            weights[token] = select(z / penalty, z * penalty, z < 0.0);
        }
    }
    for (var j = 0u; j < length; j++) {
        let token = tokens[j];
        if token < p.vocab && token % WG == lane {
            logits[token] = weights[token];
        }
    }
}

// Number of tokens with weights from `least` on, for three of them; or the sum of these weights.
fn measure(least: vec3<f32>, masses: bool, lane: u32) -> vec3<f32> {
    var sums = vec3<f32>();
    for (var i = lane; i < p.vocab; i += 4u * WG) {
        let w = weights_at(four(i));
        let amount = select(vec4<f32>(w > vec4<f32>()), w, masses);
        let none = vec4<f32>();
        sums += vec3(
            dot(select(none, amount, w >= vec4(least.x)), vec4(1.0)),
            dot(select(none, amount, w >= vec4(least.y)), vec4(1.0)),
            dot(select(none, amount, w >= vec4(least.z)), vec4(1.0)),
        );
    }
    return vec3(reduce_sum(sums.x, lane), reduce_sum(sums.y, lane), reduce_sum(sums.z, lane));
}

// The largest weight, at least `floor`, from which on there is so much: two bits at a time of 30, as weights are at most one.
fn threshold(wanted: f32, floor: f32, masses: bool, lane: u32) -> f32 {
    var found = 0u;
    for (var shift = 30u; shift > 0u; shift -= 2u) {
        let tries = vec3(found) + (vec3(1u, 2u, 3u) << vec3(shift - 2u));
        let enough = measure(max(bitcast<vec3<f32>>(tries), vec3(floor)), masses, lane) >= vec3(wanted);
        found = select(found, tries.x, enough.x);
        found = select(found, tries.y, enough.y);
        found = select(found, tries.z, enough.z);
    }
    return clamp(bitcast<f32>(found), floor, 1.0);
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

    var high = LEAST;
    var best = p.vocab;
    var fault = false;
    for (var i = lane; i < p.vocab; i += 4u * WG) {
        let at = four(i);
        let z = logits_at(at);
        // Exponents of NaN and infinity; minus infinity rules a token out.
        let bits = bitcast<vec4<u32>>(z);
        fault |= any(((bits & vec4(0x7f800000u)) == vec4(0x7f800000u)) & (bits != vec4(0xff800000u)));
        for (var c = 0u; c < 4u; c++) {
            if z[c] > high {
                high = z[c];
                best = at[c];
            }
        }
    }
    let top = reduce_max(high, lane);
    var exps = 0.0;
    for (var i = lane; i < p.vocab; i += 4u * WG) {
        exps += dot(exp(logits_at(four(i)) - top), vec4(1.0));
    }
    let total = reduce_sum(exps, lane);
    let faults = reduce_max(select(0.0, 1.0, fault), lane);

    if temperature > 0.0 {
        for (var i = lane; i < p.vocab; i += WG) {
            let z = logits[i];
            weights[i] = select(exp((z - top) / temperature), 1.0, z == top);
        }
        var least = 0.0;
        if top_k > 0u && top_k < p.vocab {
            least = threshold(f32(top_k), 0.0, false, lane);
        }
        if top_p < 1.0 {
            let mass = measure(vec3(least), true, lane).x;
            least = threshold(top_p * mass, least, true, lane);
        }
        least = max(least, min_p);
        high = LEAST;
        best = p.vocab;
        for (var i = lane; i < p.vocab; i += WG) {
            if weights[i] >= least {
                let score = (logits[i] - top) / temperature + gumbel(length, i);
                if score > high {
                    high = score;
                    best = i;
                }
            }
        }
    }
    let most = reduce_max(high, lane);
    // The lowest id among equals. Ids are small enough to be exact as floats.
    let lowest = -reduce_max(select(-f32(p.vocab), -f32(best), high == most && best < p.vocab), lane);
    let sound = faults == 0.0 && lowest < f32(p.vocab);
    let token = select(0u, u32(lowest), sound);
    if token % WG == lane {
        id[0] = token;
        tokens[length] = token;
        chosen[length] = select(bitcast<f32>(p.fault), exp(logits[token] - top) / total, sound);
        let step = select(0u, 1u, rows[0] < p.room);
        rows[0] += step;
        rows[2] += step;
    }
}
