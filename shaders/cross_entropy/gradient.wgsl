// cross_entropy/gradient: turns logits into their gradient, in place.
//
//   dx = (softmax(x) - [v = target]) * scale, zero in rows without a target
//
// | @ | name    | access  | type             | shape |
// |---|---------|---------|------------------|-----------------------|
// | 0 | p       | uniform | Params           | |
// | 1 | targets | read    | array<u32>       | (R), 0xffffffff: none |
// | 2 | state   | read    | array<vec4<f32>> | (R) |
// | 3 | scale   | read    | array<f32>       | (1) |
// | 4 | logits  | update  | array<f32>       | (rows, cols) |
//
// grid: one invocation per element, folded.   overrides: WG
#import params
#import grid

override WG: u32 = 64u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> targets: array<u32>;
@group(0) @binding(2) var<storage, read> state: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> scale: array<f32>;
@group(0) @binding(4) var<storage, read_write> logits: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group, groups) * WG + lane;
    if i < p.rows * p.cols {
        let row = p.row0 + i / p.cols;
        let s = state[row];
        let target_word = targets[row];
        let hit = select(0.0, 1.0, target_word == p.vocab0 + i % p.cols);
        let d = (exp(logits[i] - s.x) / s.y - hit) * scale[0];
        logits[i] = select(d, 0.0, target_word == 0xffffffffu);
    }
}
