//! The URL as a QR code, drawn as one path.

use std::fmt::Write as _;

use qrcode::{Color, EcLevel, QrCode};

/// Light modules around the code, as the standard asks.
const QUIET: usize = 4;

/// The code, or nothing if the text does not fit into one.
pub(super) fn svg(text: &str) -> String {
    let Ok(code) = QrCode::with_error_correction_level(text, EcLevel::M) else {
        return String::new();
    };
    let width = code.width();
    let mut path = String::new();
    for (at, color) in code.to_colors().into_iter().enumerate() {
        if color == Color::Dark {
            // Writing to a String cannot fail.
            let _ = write!(
                path,
                "M{} {}h1v1h-1z",
                at % width + QUIET,
                at / width + QUIET
            );
        }
    }
    let side = width + 2 * QUIET;
    format!(
        "<svg class=\"qr\" viewBox=\"0 0 {side} {side}\" role=\"img\" aria-label=\"The URL as a QR code\" \
         shape-rendering=\"crispEdges\"><path d=\"{path}\"/></svg>"
    )
}
