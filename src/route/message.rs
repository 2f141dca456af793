//! Messages between cores.

/// What travels from one core to another: at most one for each target a round.
#[derive(Default, Debug)]
pub struct Batch {}
