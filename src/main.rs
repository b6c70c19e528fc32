fn main() {
    let options = hive::gpu::GpuOptions { checked: std::env::var("CHECKED").is_ok(), ..Default::default() };
    let gpu = hive::platform::block_on(hive::gpu::Gpu::new(&options)).unwrap();
    let args: Vec<String> = std::env::args().collect();
    if args[1] == "verify" {
        let start = hive::platform::now_secs();
        let out = hive::platform::block_on(hive::ops::verify::run(&gpu, args.get(2).map_or("", |s| s), |o| if !o.passed() { println!("{o:?}") })).unwrap();
        println!("{} cases {} failed {:.1}s", out.len(), out.iter().filter(|o| !o.passed()).count(), hive::platform::now_secs() - start);
        return;
    }
    for dir in &args[1..] {
        let read = |n: &str| std::fs::read(std::path::Path::new(dir).join(n)).map_err(|e| e.to_string());
        match hive::platform::block_on(hive::train::parity::check(&gpu, &read)) {
            Ok(groups) => for g in groups { println!("{} {dir} {} {} {:.1e} {} {:?}", g.passed(), g.name, g.tensors, g.worst, g.worst_tensor, g.faults.iter().take(3).collect::<Vec<_>>()) },
            Err(e) => println!("ERR {dir} {e}"),
        }
    }
}
