//! `cdesk_core._cdesk_core`: convert, enter, return. What it promises is written in `cdesk-core` and in the stub; what Python
//! shows of it are the comments here, word for word the stub's (`tests/cdesk_core/test_surface.py`).

#![expect(clippy::doc_markdown, reason = "Python shows these comments as they are")]

mod asynchronous;
mod cache;
mod consumer;
mod enter;
mod error;
mod events;
mod exceptions;
mod fingerprint;
mod inspect;
mod lease;
mod queue;
mod tag;

use pyo3::prelude::*;

/// The Rust core of cdesk.
#[pymodule(gil_used = false)]
fn _cdesk_core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("MAX_LINE_BYTES", cdesk_core::MAX_LINE_BYTES)?;
    module.add("MAX_CUSTOMER_CHARS", cdesk_events::MAX_CUSTOMER_CHARS)?;
    module.add("MAX_LINK_CHARS", cdesk_events::MAX_LINK_CHARS)?;
    exceptions::register(module)?;
    module.add_class::<queue::Queue>()?;
    module.add_class::<queue::QueueStats>()?;
    module.add_class::<asynchronous::LoopWake>()?;
    module.add_class::<consumer::Consumer>()?;
    module.add_class::<consumer::ConsumerStats>()?;
    module.add_class::<consumer::Batch>()?;
    module.add_class::<consumer::Backlog>()?;
    module.add_class::<consumer::Trouble>()?;
    module.add_class::<inspect::SegmentView>()?;
    module.add_class::<inspect::Damage>()?;
    module.add_class::<lease::Lease>()?;
    module.add_class::<tag::QueryTags>()?;
    module.add_class::<cache::ContextCache>()?;
    module.add_class::<cache::CacheStats>()?;
    module.add_class::<cache::Hit>()?;
    module.add_class::<events::EventRules>()?;
    module.add_class::<events::Events>()?;
    module.add_function(wrap_pyfunction!(events::micro_dollars, module)?)?;
    module.add_function(wrap_pyfunction!(consumer::backlog, module)?)?;
    module.add_function(wrap_pyfunction!(consumer::queue_depth, module)?)?;
    module.add_function(wrap_pyfunction!(consumer::registered, module)?)?;
    module.add_function(wrap_pyfunction!(inspect::inspect, module)?)?;
    module.add_function(wrap_pyfunction!(fingerprint::query_hash, module)?)
}
