//! The attribute `#[burnin::test]`: turns a function into an ordinary `#[test]` that runs it under simulation,
//! once per seed. What happens at run time is in the crate `burnin`; this crate only reads the attribute.

mod arguments;

use arguments::Arguments;
use proc_macro::TokenStream;
use quote::quote;
use syn::{FnArg, ItemFn, parse_macro_input, spanned::Spanned};

/// Runs a function under simulation, once per seed.
///
/// - `#[burnin::test(scenario = "scenarios/smoke/kill-loop.toml", seeds = 32)]` on
///   `fn name(run: burnin::Run) -> burnin::Result` runs a scenario for each seed and hands over what came out.
///   The path is relative to the crate, or else to the workspace root.
/// - `#[burnin::test(seeds = 32)]` on `async fn name(world: burnin::World) -> burnin::Result` runs the function
///   itself inside a fresh simulated world for each seed.
///
/// Options: `seeds` (a number, default 1), `limit` (simulated time of a world, default `"10m"`), and
/// `check_determinism = true` (each seed once more in a fresh process; a difference fails).
#[proc_macro_attribute]
pub fn test(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = parse_macro_input!(arguments as Arguments);
    let function = parse_macro_input!(item as ItemFn);
    expand(&arguments, &function).unwrap_or_else(|error| error.to_compile_error()).into()
}

fn expand(arguments: &Arguments, function: &ItemFn) -> syn::Result<proc_macro2::TokenStream> {
    let inputs: Vec<_> = function.sig.inputs.iter().collect();
    let [FnArg::Typed(_)] = inputs.as_slice() else {
        let expected = "a simulated test takes one parameter: `run: burnin::Run` with a scenario, `world: burnin::World` without";
        return Err(syn::Error::new(function.sig.span(), expected));
    };
    let name = &function.sig.ident;
    let attributes = &function.attrs;
    let mut inner = function.clone();
    inner.attrs.clear();
    let seeds = arguments.seeds;
    let check_determinism = arguments.check_determinism;
    let place = quote! {
        ::burnin::TestPlace {
            manifest_dir: env!("CARGO_MANIFEST_DIR"),
            package: env!("CARGO_PKG_NAME"),
            binary: option_env!("CARGO_CRATE_NAME").unwrap_or(module_path!()),
            program: option_env!("CARGO_BIN_NAME"),
            integration: option_env!("CARGO_TARGET_TMPDIR").is_some(),
            module: module_path!(),
            name: stringify!(#name),
        }
    };
    let call = match (&arguments.scenario, function.sig.asyncness) {
        (Some(scenario), None) => {
            if let Some(limit) = &arguments.limit {
                let message =
                    format!("`limit = \"{limit}\"` is for worlds: a scenario says itself how long it runs");
                return Err(syn::Error::new(function.sig.span(), message));
            }
            quote! { ::burnin::run_scenario_test(#place, #scenario, #seeds, #check_determinism, #name) }
        }
        (None, Some(_)) => {
            let limit = arguments.limit.as_deref().unwrap_or("10m");
            quote! { ::burnin::run_world_test(#place, #seeds, #check_determinism, #limit, #name) }
        }
        (Some(_), Some(asyncness)) => {
            return Err(syn::Error::new(
                asyncness.span(),
                "a scenario test is not async: the run is over when it is called",
            ));
        }
        (None, None) => {
            return Err(syn::Error::new(
                function.sig.fn_token.span(),
                "a test without a scenario must be `async`",
            ));
        }
    };
    Ok(quote! {
        #(#attributes)*
        #[test]
        fn #name() {
            #inner
            #call
        }
    })
}
