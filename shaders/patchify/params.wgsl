struct Params {
    images: u32, // B
    channels: u32, // colour channels
    size: u32, // image side, pixels
    side: u32, // patch side, pixels
}
