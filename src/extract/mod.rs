//! What a page holds: links, text, title, fields.
