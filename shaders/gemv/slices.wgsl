// Parts of K that meet: SLICES times 32 invocations, invocation l has row l % 32 and part l / 32.

override SLICES: u32 = 8u;
override WG: u32 = 256u;

var<workgroup> slice_sums: array<vec2<f32>, WG>;

// The sum over the parts of a row, for those of the first part. Every invocation must call, in uniform control flow.
fn over_slices(value: vec2<f32>, lane: u32) -> vec2<f32> {
    if SLICES == 1u {
        return value;
    }
    slice_sums[lane] = value;
    workgroupBarrier();
    var sum = vec2<f32>();
    for (var s = 0u; s < SLICES; s++) {
        sum += slice_sums[s * PANEL + lane % PANEL];
    }
    return sum;
}
