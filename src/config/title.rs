//! The template of the process title.

/// The variables that a template may name.
pub const VARIABLES: [&str; 7] =
    ["title", "listen-addr", "server-mode", "port", "tls-port", "unixsocket", "config-file"];

/// Puts the values of variables into a template: `{name}` is a variable, `{{` a brace.
///
/// `None` when a brace is not closed or `value` knows no such variable.
pub fn expand(template: &str, value: impl Fn(&str) -> Option<String>) -> Option<String> {
    let mut out = String::new();
    let mut rest = template;
    while let Some((literal, after)) = rest.split_once('{') {
        out.push_str(literal);
        if let Some(after_brace) = after.strip_prefix('{') {
            out.push('{');
            rest = after_brace;
        } else {
            let (variable, after_variable) = after.split_once('}')?;
            out.push_str(&value(variable)?);
            rest = after_variable;
        }
    }
    out.push_str(rest);
    Some(out.trim_matches(' ').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_and_braces() {
        let value = |name: &str| (name == "port").then(|| "6379".to_owned());
        assert_eq!(expand("a {port} ", value).as_deref(), Some("a 6379"));
        assert_eq!(expand("{{{port}", value).as_deref(), Some("{6379"));
        assert_eq!(expand("--my--title", value).as_deref(), Some("--my--title"));
        for wrong in ["{", "{port", "{nosuch}", "a{"] {
            assert_eq!(expand(wrong, value), None);
        }
    }
}
