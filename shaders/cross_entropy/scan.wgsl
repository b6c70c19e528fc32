// cross_entropy/scan: softmax statistics of each row, carried from chunk to chunk of the vocabulary.
//
//   state[r] = (max, sum of exp(x - max), x[target], index of the max)
//
// | @ | name    | access  | type             | shape |
// |---|---------|---------|------------------|-----------------------|
// | 0 | p       | uniform | Params           | |
// | 1 | logits  | read    | array<f32>       | (rows, cols) |
// | 2 | targets | read    | array<u32>       | (R), 0xffffffff: none |
// | 3 | state   | update  | array<vec4<f32>> | (R) |
//
// grid: one workgroup per row, folded.   overrides: WG
#import params
#import grid
#import reduce

override WG: u32 = 64u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read_write> state: array<vec4<f32>>;

var<workgroup> best_at: array<u32, WG>;
@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let local = flat(group, groups);
    let r = min(local, p.rows - 1u);
    let at = r * p.cols;
    var top = -1e30;
    var where_top = 0u;
    for (var c = lane; c < p.cols; c += WG) {
        if logits[at + c] > top {
            top = logits[at + c];
            where_top = c;
        }
    }
    let high = reduce_max(top, lane);
    best_at[lane] = select(0xffffffffu, where_top, top == high);
    var sum = 0.0;
    for (var c = lane; c < p.cols; c += WG) {
        sum += exp(logits[at + c] - high);
    }
    sum = reduce_sum(sum, lane);
    if lane == 0u && local < p.rows {
        var best = best_at[0];
        for (var i = 1u; i < WG; i++) {
            best = min(best, best_at[i]);
        }
        let row = p.row0 + r;
        var old = vec4(-1e30, 0.0, 0.0, 0.0);
        if p.first == 0u { old = state[row]; }
        let most = max(old.x, high);
        let target_word = targets[row];
        let here = target_word >= p.vocab0 && target_word - p.vocab0 < p.cols;
        state[row] = vec4(
            most,
            old.y * exp(old.x - most) + sum * exp(high - most),
            select(old.z, logits[at + min(target_word - p.vocab0, p.cols - 1u)], here),
            select(old.w, f32(p.vocab0 + best), high > old.x),
        );
    }
}
