// adamw/update: one AdamW step over a range of parameters. A step whose gradient norm is not finite changes nothing.
//
//   g = grad * clip        m = β1 m + (1 - β1) g        v = β2 v + (1 - β2) g²
//   w = w (1 - lr decay) - lr / (1 - β1^t) * m / (sqrt(v / (1 - β2^t)) + eps)
//
// rate = (lr, lr / (1 - β1^t), 1 / sqrt(1 - β2^t)), from the host in double precision.
//
// | @ | name | access  | type       | shape |
// |---|------|---------|------------|---------------------------|
// | 0 | p    | uniform | Params     | |
// | 1 | rate | read    | array<f32> | (3) |
// | 2 | clip | read    | array<f32> | (3): factor, norm, finite |
// | 3 | grad | read    | array<f32> | (count) |
// | 4 | w    | update  | array<f32> | (count) |
// | 5 | m    | update  | array<f32> | (count) |
// | 6 | v    | update  | array<f32> | (count) |
//
// grid: one invocation per element, folded.   overrides: WG
#import params
#import grid

override WG: u32 = 64u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> rate: array<f32>;
@group(0) @binding(2) var<storage, read> clip: array<f32>;
@group(0) @binding(3) var<storage, read> grad: array<f32>;
@group(0) @binding(4) var<storage, read_write> w: array<f32>;
@group(0) @binding(5) var<storage, read_write> m: array<f32>;
@group(0) @binding(6) var<storage, read_write> v: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group, groups) * WG + lane;
    if i < p.count && clip[2] == 1.0 {
        let g = grad[i] * clip[0];
        let m1 = fma(p.beta1, m[i], (1.0 - p.beta1) * g);
        let v1 = fma(p.beta2, v[i], (1.0 - p.beta2) * g * g);
        m[i] = m1;
        v[i] = v1;
        w[i] = w[i] * (1.0 - rate[0] * p.decay) - rate[1] * m1 / fma(sqrt(v1), rate[2], p.eps);
    }
}
