// Rows of 16 values in named registers, and the way they are handed round in a subgroup of 8: for CPU drivers, whose loads are a
// gather per lane whatever the address, and whose indexed arrays lie in memory.

struct Sixteen { a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32> }

fn scaled(x: Sixteen, by: f32) -> Sixteen {
    return Sixteen(x.a * by, x.b * by, x.c * by, x.d * by);
}

fn dot16(x: Sixteen, y: Sixteen) -> f32 {
    let s = fma(x.a, y.a, fma(x.b, y.b, fma(x.c, y.c, x.d * y.d)));
    return s.x + s.y + s.z + s.w;
}

// sum + by x
fn plus(sum: Sixteen, by: f32, x: Sixteen) -> Sixteen {
    let w = vec4(by);
    return Sixteen(fma(w, x.a, sum.a), fma(w, x.b, sum.b), fma(w, x.c, sum.c), fma(w, x.d, sum.d));
}

// The row of lane 0 to 7.
fn of0(x: Sixteen) -> Sixteen {
    return Sixteen(subgroupBroadcast(x.a, 0u), subgroupBroadcast(x.b, 0u), subgroupBroadcast(x.c, 0u), subgroupBroadcast(x.d, 0u));
}
fn of1(x: Sixteen) -> Sixteen {
    return Sixteen(subgroupBroadcast(x.a, 1u), subgroupBroadcast(x.b, 1u), subgroupBroadcast(x.c, 1u), subgroupBroadcast(x.d, 1u));
}
fn of2(x: Sixteen) -> Sixteen {
    return Sixteen(subgroupBroadcast(x.a, 2u), subgroupBroadcast(x.b, 2u), subgroupBroadcast(x.c, 2u), subgroupBroadcast(x.d, 2u));
}
fn of3(x: Sixteen) -> Sixteen {
    return Sixteen(subgroupBroadcast(x.a, 3u), subgroupBroadcast(x.b, 3u), subgroupBroadcast(x.c, 3u), subgroupBroadcast(x.d, 3u));
}
fn of4(x: Sixteen) -> Sixteen {
    return Sixteen(subgroupBroadcast(x.a, 4u), subgroupBroadcast(x.b, 4u), subgroupBroadcast(x.c, 4u), subgroupBroadcast(x.d, 4u));
}
fn of5(x: Sixteen) -> Sixteen {
    return Sixteen(subgroupBroadcast(x.a, 5u), subgroupBroadcast(x.b, 5u), subgroupBroadcast(x.c, 5u), subgroupBroadcast(x.d, 5u));
}
fn of6(x: Sixteen) -> Sixteen {
    return Sixteen(subgroupBroadcast(x.a, 6u), subgroupBroadcast(x.b, 6u), subgroupBroadcast(x.c, 6u), subgroupBroadcast(x.d, 6u));
}
fn of7(x: Sixteen) -> Sixteen {
    return Sixteen(subgroupBroadcast(x.a, 7u), subgroupBroadcast(x.b, 7u), subgroupBroadcast(x.c, 7u), subgroupBroadcast(x.d, 7u));
}

// x · of each lane's row: lanes 0 to 3, and 4 to 7.
fn dots_low(x: Sixteen, rows: Sixteen) -> vec4<f32> {
    return vec4(dot16(x, of0(rows)), dot16(x, of1(rows)), dot16(x, of2(rows)), dot16(x, of3(rows)));
}
fn dots_high(x: Sixteen, rows: Sixteen) -> vec4<f32> {
    return vec4(dot16(x, of4(rows)), dot16(x, of5(rows)), dot16(x, of6(rows)), dot16(x, of7(rows)));
}

// sum + the rows of all lanes, each by its weight.
fn plus_all(sum: Sixteen, low: vec4<f32>, high: vec4<f32>, rows: Sixteen) -> Sixteen {
    let half = plus(plus(plus(plus(sum, low.x, of0(rows)), low.y, of1(rows)), low.z, of2(rows)), low.w, of3(rows));
    return plus(plus(plus(plus(half, high.x, of4(rows)), high.y, of5(rows)), high.z, of6(rows)), high.w, of7(rows));
}
