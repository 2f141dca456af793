//! Allocation sizes that waste nothing: the server's allocator's size classes.
//!
//! Arrays that grow with a table segment take exactly these sizes, in the smallest steps there are,
//! so that what they ask for is what they cost.

/// Size classes in bytes, ascending. Arrays for ordinary segments end at 3072; the larger ones
/// serve only segments that splitting cannot part.
pub(crate) const SIZE_CLASSES: [usize; 35] = [
    40, 48, 56, 64, 72, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896,
    1024, 1280, 1536, 1792, 2048, 2560, 3072, 4096, 8192, 16384, 32768, 65536, 98304, 131_072,
    196_608,
];

/// The smallest class of at least `bytes`, which no segment exceeds.
pub(crate) fn size_class(bytes: usize) -> usize {
    let class = SIZE_CLASSES.into_iter().find(|&class| class >= bytes);
    class.expect("invariant: a keyed hash does not put thousands of keys into one segment")
}
