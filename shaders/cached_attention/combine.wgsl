// cached_attention/combine: one result from the parts of the keys. A part that saw no key has a sum of exponentials of zero.
//
//   y = Σ exp(m_s - M) a_s / Σ exp(m_s - M) l_s        M = max m_s
//
// | @ | name  | access  | type             | shape |
// |---|-------|---------|------------------|--------|
// | 0 | p     | uniform | Params           | |
// | 1 | parts | read    | array<vec4<f32>> | (H, splits, 4 + D) |
// | 2 | y     | write   | array<vec4<f32>> | (H, D) |
//
// grid: one invocation per four values, folded.   overrides: WG
#import params
#import grid

override WG: u32 = 64u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> parts: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group, groups) * WG + lane;
    if i < p.heads * p.width {
        let at = i / p.width * p.splits * (p.width + 1u);
        var top = parts[at].x;
        for (var s = 1u; s < p.splits; s++) {
            top = max(top, parts[at + s * (p.width + 1u)].x);
        }
        var sum = vec4<f32>();
        var total = 0.0;
        for (var s = 0u; s < p.splits; s++) {
            let origin = at + s * (p.width + 1u);
            let weight = exp(parts[origin].x - top);
            total = fma(weight, parts[origin].y, total);
            sum = fma(vec4(weight), parts[origin + 1u + i % p.width], sum);
        }
        y[i] = sum / total;
    }
}
