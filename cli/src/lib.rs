//! The terminal client's parts that others use too.
