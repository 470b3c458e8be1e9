//! placeholder until merge
/// Options.
#[derive(Debug, Clone, Default)]
pub struct Options;
