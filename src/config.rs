//! stub
/// c
pub struct Config {
    /// a
    pub access: Access,
    /// l
    pub limits: L,
}
/// a
pub struct Access {
    /// r
    pub requirepass: String,
    /// p
    pub protected_mode: bool,
}
/// l
pub struct L {
    /// m
    pub maxclients: usize,
}
