// swiglu/backward: with s = sigmoid(gate):
//
//   dgate = dy * up * s * (1 + gate * (1 - s))        dup = dy * gate * s
//
// | @ | name  | access  | type       | shape |
// |---|-------|---------|------------|---------|
// | 0 | p     | uniform | Params     | |
// | 1 | dy    | read    | array<f32> | (count) |
// | 2 | gate  | read    | array<f32> | (count) |
// | 3 | up    | read    | array<f32> | (count) |
// | 4 | dgate | write   | array<f32> | (count) |
// | 5 | dup   | write   | array<f32> | (count) |
//
// grid: one invocation per element, folded.   overrides: WG
#import params
#import grid

override WG: u32 = 64u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> gate: array<f32>;
@group(0) @binding(3) var<storage, read> up: array<f32>;
@group(0) @binding(4) var<storage, read_write> dgate: array<f32>;
@group(0) @binding(5) var<storage, read_write> dup: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group, groups) * WG + lane;
    if i < p.count {
        let g = gate[i];
        let s = 1.0 / (1.0 + exp(-g));
        dgate[i] = dy[i] * up[i] * s * fma(g, 1.0 - s, 1.0);
        dup[i] = dy[i] * g * s;
    }
}
