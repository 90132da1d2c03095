//! The shapes of points.

/// The shape of a line's points, for those who cannot tell the colours apart.
#[derive(Clone, Copy)]
pub(crate) enum Mark {
    Circle,
    Square,
    Diamond,
    Up,
    Down,
    None,
}

impl Mark {
    /// The shape around a place, with `content` as its child.
    pub(super) fn draw(self, x: f64, y: f64, content: &str) -> String {
        let path = |shape: String| format!("<path class=\"mark\" d=\"M{shape}Z\">{content}</path>");
        let corner = |dx: f64, dy: f64| format!("{:.1} {:.1}", x + dx, y + dy);
        let polygon = |corners: &[(f64, f64)]| {
            let corners: Vec<String> = corners.iter().map(|&(dx, dy)| corner(dx, dy)).collect();
            path(corners.join("L"))
        };
        match self {
            Self::Circle => {
                format!(
                    "<circle class=\"mark\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.2\">{content}</circle>"
                )
            }
            Self::Square => polygon(&[(-3.7, -3.7), (3.7, -3.7), (3.7, 3.7), (-3.7, 3.7)]),
            Self::Diamond => polygon(&[(0.0, -5.2), (5.2, 0.0), (0.0, 5.2), (-5.2, 0.0)]),
            Self::Up => polygon(&[(0.0, -5.0), (4.8, 3.6), (-4.8, 3.6)]),
            Self::Down => polygon(&[(0.0, 5.0), (4.8, -3.6), (-4.8, -3.6)]),
            Self::None => String::new(),
        }
    }
}
