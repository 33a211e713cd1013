//! Behaviour through public faces.
