//! Properties of learning.
