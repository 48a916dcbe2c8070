//! What stands in the parentheses of `#[burnin::test(...)]`.

use syn::parse::{Parse, ParseStream};
use syn::{Ident, LitBool, LitInt, LitStr, Token};

const KNOWN: &str = "scenario, seeds, limit, check_determinism";

/// The options, with their defaults.
pub struct Arguments {
    pub scenario: Option<String>,
    pub seeds: u64,
    pub limit: Option<String>,
    pub check_determinism: bool,
}

impl Parse for Arguments {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        let mut arguments = Arguments { scenario: None, seeds: 1, limit: None, check_determinism: false };
        while !input.is_empty() {
            let key: Ident = input.parse()?;
            if key == "check_determinism" && !input.peek(Token![=]) {
                arguments.check_determinism = true;
            } else {
                input.parse::<Token![=]>()?;
                arguments.set(&key, input)?;
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(arguments)
    }
}

impl Arguments {
    fn set(&mut self, key: &Ident, input: ParseStream) -> syn::Result<()> {
        match key.to_string().as_str() {
            "scenario" => self.scenario = Some(input.parse::<LitStr>()?.value()),
            "limit" => self.limit = Some(input.parse::<LitStr>()?.value()),
            "check_determinism" => self.check_determinism = input.parse::<LitBool>()?.value,
            "seeds" => {
                let seeds: LitInt = input.parse()?;
                self.seeds = seeds.base10_parse()?;
                if self.seeds == 0 {
                    return Err(syn::Error::new(
                        seeds.span(),
                        "seeds must be at least 1: a test that runs nothing proves nothing",
                    ));
                }
            }
            other => {
                return Err(syn::Error::new(
                    key.span(),
                    format!("unknown option `{other}` (known: {KNOWN})"),
                ));
            }
        }
        Ok(())
    }
}
