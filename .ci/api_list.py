"""Turns rustdoc's JSON into a list of the public API, one item a line."""

import re

# Markers without meaning to a caller.
UNLISTED_TRAITS = {"StructuralPartialEq", "Freeze", "UnsafeUnpin"}
AUTO_TRAITS = {"Send", "Sync", "Unpin", "UnwindSafe", "RefUnwindSafe"}
STANDARD = {"std", "core", "alloc"}
# Kinds in the order in which they follow their type.
ORDER = ["field", "variant", "const", "type", "fn", "impl", "auto"]


def kind_of(item):
    return next(iter(item["inner"]))


class Api:
    """The items that a user of the crate can name, and the crates that their signatures name."""

    def __init__(self, document):
        self.index = document["index"]
        self.paths = document["paths"]
        self.crates = {int(id): crate["name"] for id, crate in document["external_crates"].items()}
        self.public = {}  # id -> the shortest path
        self.aliases = []  # (path, id) of the other paths
        self.foreign = {}  # crate -> names of its items
        self.lines = []  # (sort key, line)
        self.autos = {}  # path -> its auto traits
        self.unnameable = set()  # types that signatures name and users cannot
        self.walk_module(document["root"], "", set())
        # A standard item of the same name is written with `std::`.
        self.public_names = set(self.public.values())

    def item(self, id):
        return self.index.get(str(id))

    # Which paths are public.

    def walk_module(self, id, prefix, seen):
        if id in seen:
            return
        for child in self.item(id)["inner"]["module"]["items"]:
            self.visit(child, prefix, seen | {id})

    def visit(self, id, prefix, seen, name=None):
        item = self.item(id)
        if item is None:
            return
        kind = kind_of(item)
        if kind == "use":
            use = item["inner"]["use"]
            target = self.item(use["id"]) if use["id"] is not None else None
            if target is None:
                self.foreign_reexport(use, prefix)
            elif use["is_glob"]:
                inner = target["inner"]
                children = inner.get("module", {}).get("items") or inner["enum"]["variants"]
                for child in children:
                    self.visit(child, prefix, seen | {use["id"]})
            else:
                self.visit(use["id"], prefix, seen, name or use["name"])
            return
        if kind == "impl":
            return
        path = prefix + (name or item["name"])
        known = self.public.get(id)
        if known is None or (path.count("::"), path) < (known.count("::"), known):
            self.public[id] = path
            if known is not None:
                self.aliases.append((known, id))
        elif known != path:
            self.aliases.append((path, id))
        if kind == "module":
            self.walk_module(id, path + "::", seen)

    def foreign_reexport(self, use, prefix):
        path = prefix + use["name"]
        self.foreign.setdefault(use["source"].split("::")[0], set()).add(use["source"])
        self.lines.append((self.key(path, "use"), f"use {path} = {use['source']}"))

    # Lines.

    def key(self, path, kind, name=""):
        return (path, ORDER.index(kind) if kind in ORDER else -1, name)

    def render(self):
        """Returns the lines, sorted."""
        for id, path in list(self.public.items()):
            self.add_item(id, path)
        for path, id in self.aliases:
            self.lines.append((self.key(path, "use"), f"use {path} = {self.public[id]}"))
        for item in self.index.values():
            if kind_of(item) == "impl" and item["crate_id"] == 0:
                self.add_impl(item["inner"]["impl"])
        for path, traits in self.autos.items():
            self.add(path, "auto", f"auto {path}: {', '.join(sorted(traits))}")
        lines = [line for _, line in sorted(set(self.lines))]
        return lines + [f"unnameable {name}" for name in sorted(self.unnameable)]

    def add(self, path, kind, text, item=None, name=""):
        self.lines.append((self.key(path, kind, name), self.attributes(item) + text))

    def attributes(self, item):
        text = ""
        for attribute in item["attrs"] if item else []:
            word = attribute if isinstance(attribute, str) else next(iter(attribute))
            if word in ("non_exhaustive", "must_use"):
                text += f"#[{word}] "
        return "#[deprecated] " + text if item and item["deprecation"] else text

    def add_item(self, id, path):
        item = self.item(id)
        kind = kind_of(item)
        inner = item["inner"][kind]
        if kind == "module":
            self.add(path, kind, f"mod {path}", item)
        elif kind == "struct":
            self.add_struct(item, inner, path)
        elif kind == "enum":
            generics, where = self.generics(inner["generics"])
            self.add(path, kind, f"enum {path}{generics}{where}", item)
            for variant in inner["variants"]:
                self.add_variant(self.item(variant), path)
        elif kind == "trait":
            self.add_trait(item, inner, path)
        elif kind == "function":
            self.add(path, kind, self.function(inner, path), item)
        elif kind == "type_alias":
            generics, where = self.generics(inner["generics"])
            target = self.type(inner["type"])
            self.add(path, kind, f"type {path}{generics} = {target}{where}", item)
        elif kind == "constant":
            self.add(path, kind, f"const {path}: {self.type(inner['type'])}", item)
        elif kind == "static":
            self.add(path, kind, f"static {path}: {self.type(inner['type'])}", item)
        else:
            self.add(path, kind, f"{kind} {path}", item)

    def add_struct(self, item, inner, path):
        generics, where = self.generics(inner["generics"])
        shape = inner["kind"]
        if shape == "unit":
            body, fields = "", []
        elif "tuple" in shape:
            shown = self.tuple_fields(shape["tuple"])
            body, fields = f"({', '.join(shown)})", []
        else:
            hidden, fields = shape["plain"]["has_stripped_fields"], shape["plain"]["fields"]
            body = " { .. }" if hidden else " { }" if not fields else ""
        self.add(path, "struct", f"struct {path}{generics}{body}{where}", item)
        for field in map(self.item, fields):
            text = f"field {path}::{field['name']}: {self.type(field['inner']['struct_field'])}"
            self.add(path, "field", text, field, field["name"])

    def tuple_fields(self, ids):
        return ["_" if id is None else self.type(self.item(id)["inner"]["struct_field"])
                for id in ids]

    def add_variant(self, item, path):
        shape = item["inner"]["variant"]["kind"]
        if shape == "plain":
            body = ""
        elif "tuple" in shape:
            shown = self.tuple_fields(shape["tuple"])
            body = f"({', '.join(shown)})"
        else:
            fields = [self.item(field) for field in shape["struct"]["fields"]]
            shown = [f"{f['name']}: {self.type(f['inner']['struct_field'])}" for f in fields]
            shown += [".."] * shape["struct"]["has_stripped_fields"]
            body = " { " + ", ".join(shown) + " }"
        self.add(path, "variant", f"variant {path}::{item['name']}{body}", item, item["name"])

    def add_trait(self, item, inner, path):
        generics, where = self.generics(inner["generics"])
        bounds = self.bounds(inner["bounds"])
        dyn = "dyn-compatible " if inner["is_dyn_compatible"] else ""
        unsafe = "unsafe " if inner["is_unsafe"] else ""
        text = f"{dyn}{unsafe}trait {path}{generics}{': ' if bounds else ''}{bounds}{where}"
        self.add(path, "trait", text, item)
        for child in map(self.item, inner["items"]):
            if child is not None:
                self.add_member(child, path, path, "", provided=True)

    def add_member(self, item, path, owner, where, provided=False):
        """A method, an associated type or constant: of `owner`, listed with `path`."""
        kind, name = kind_of(item), item["name"]
        inner = item["inner"][kind]
        if kind == "function":
            default = " [provided]" if provided and inner["has_body"] else ""
            text = self.function(inner, f"{owner}::{name}", where) + default
            self.add(path, "fn", text, item, name)
        elif kind == "assoc_type":
            generics, own_where = self.generics(inner["generics"])
            bounds = self.bounds(inner["bounds"])
            text = f"type {owner}::{name}{generics}{': ' if bounds else ''}{bounds}"
            if inner["type"] is not None:
                text += f" = {self.type(inner['type'])}"
            self.add(path, "type", text + own_where, item, name)
        elif kind == "assoc_const":
            default = " [provided]" if provided and inner["value"] is not None else ""
            text = f"const {owner}::{name}: {self.type(inner['type'])}{default}"
            self.add(path, "const", text, item, name)

    def add_impl(self, impl):
        subject, trait = impl["for"], impl["trait"]
        if impl["blanket_impl"] is not None or not self.visible(subject):
            return
        if trait is None:
            _, where = self.generics(impl["generics"])
            owner = self.type(subject)
            for item in map(self.item, impl["items"]):
                if item is not None and item["visibility"] == "public":
                    self.add_member(item, self.name(subject["resolved_path"]), owner, where)
            return
        name = trait["path"].split("::")[-1]
        if name in AUTO_TRAITS:
            mark = "!" if impl["is_negative"] else ""
            depends = " (depends)" if impl["generics"]["where_predicates"] else ""
            self.autos.setdefault(self.type_path(subject), set()).add(mark + name + depends)
        elif name not in UNLISTED_TRAITS and not self.is_private(trait["id"]):
            self.add_trait_impl(impl, subject, trait)

    def add_trait_impl(self, impl, subject, trait):
        rendered = self.path(trait)
        path = self.type_path(subject) if self.is_local(subject) else self.name(trait)
        generics, where = self.generics(impl["generics"])
        head = f"impl{generics} {rendered} for {self.type(subject)}"
        self.add(path, "impl", head + where, name=head)
        for item in map(self.item, impl["items"]):
            if item is not None and kind_of(item) == "assoc_type":
                aliased = self.type(item["inner"]["assoc_type"]["type"])
                self.add(path, "impl", f"{head}: {item['name']} = {aliased}", name=head)

    def is_private(self, id):
        known = self.paths.get(str(id))
        local = known["crate_id"] == 0 if known else str(id) in self.index
        return local and id not in self.public

    def is_local(self, subject):
        return subject.get("resolved_path", {}).get("id") in self.public

    def visible(self, subject):
        """Whether a user can name the type; parameters and other crates' types count."""
        return "resolved_path" not in subject or not self.is_private(subject["resolved_path"]["id"])

    def type_path(self, subject):
        if "resolved_path" in subject:
            return self.name(subject["resolved_path"])
        return self.type(subject)

    # Types, as Rust writes them.

    def name(self, path):
        id = path["id"]
        if id in self.public:
            return self.public[id]
        known = self.paths.get(str(id))
        last = path["path"].split("::")[-1]
        if known is None or known["crate_id"] == 0:
            self.unnameable.add("::".join(known["path"][1:]) if known else last)
            return last
        last = known["path"][-1]
        crate = self.crates[known["crate_id"]]
        if crate in STANDARD:
            return f"std::{last}" if last in self.public_names else last
        self.foreign.setdefault(crate, set()).add("::".join(known["path"]))
        return f"{crate}::{last}"

    def path(self, path):
        return self.name(path) + self.arguments(path.get("args"))

    def arguments(self, args):
        if not args:
            return ""
        if "parenthesized" in args:
            inputs = ", ".join(map(self.type, args["parenthesized"]["inputs"]))
            return f"({inputs})" + self.output(args["parenthesized"]["output"])
        if "angle_bracketed" not in args:
            return "(..)"
        shown = []
        for arg in args["angle_bracketed"]["args"]:
            if arg == "infer":
                shown.append("_")
            elif "lifetime" in arg:
                shown.append(arg["lifetime"])
            elif "type" in arg:
                shown.append(self.type(arg["type"]))
            else:
                shown.append(arg["const"]["expr"])
        for constraint in args["angle_bracketed"]["constraints"]:
            name = constraint["name"] + self.arguments(constraint["args"])
            if "equality" in constraint["binding"]:
                term = constraint["binding"]["equality"]
                value = self.type(term["type"]) if "type" in term else term["constant"]["expr"]
                shown.append(f"{name} = {value}")
            else:
                shown.append(f"{name}: {self.bounds(constraint['binding']['constraint'])}")
        return f"<{', '.join(shown)}>" if shown else ""

    def output(self, type):
        return f" -> {self.type(type)}" if type is not None else ""

    def type(self, type):
        kind, inner = ("infer", None) if type == "infer" else next(iter(type.items()))
        if kind == "resolved_path":
            return self.path(inner)
        if kind in ("generic", "primitive"):
            return {"never": "!", "unit": "()"}.get(inner, inner)
        if kind == "borrowed_ref":
            lifetime = inner["lifetime"] + " " if inner["lifetime"] else ""
            target = self.type(inner["type"])
            if " + " in target and target.startswith(("dyn ", "impl ")):
                target = f"({target})"
            return f"&{lifetime}{'mut ' if inner['is_mutable'] else ''}{target}"
        if kind == "raw_pointer":
            return f"*{'mut' if inner['is_mutable'] else 'const'} {self.type(inner['type'])}"
        if kind == "tuple":
            return f"({', '.join(map(self.type, inner))}{',' if len(inner) == 1 else ''})"
        if kind == "slice":
            return f"[{self.type(inner)}]"
        if kind == "array":
            return f"[{self.type(inner['type'])}; {inner['len']}]"
        if kind == "impl_trait":
            return f"impl {self.bounds(inner)}"
        if kind == "dyn_trait":
            traits = [self.higher(t["generic_params"]) + self.path(t["trait"])
                      for t in inner["traits"]]
            return "dyn " + " + ".join(traits + [inner["lifetime"]] * bool(inner["lifetime"]))
        if kind == "function_pointer":
            inputs = ", ".join(self.type(input) for _, input in inner["sig"]["inputs"])
            return f"{self.higher(inner['generic_params'])}fn({inputs})" \
                + self.output(inner["sig"]["output"])
        if kind == "qualified_path":
            name = inner["name"] + self.arguments(inner["args"])
            this, trait = self.type(inner["self_type"]), inner["trait"]
            if trait is None or trait["path"] == "" or "generic" in inner["self_type"]:
                return f"{this}::{name}"
            return f"<{this} as {self.path(trait)}>::{name}"
        return "_"

    def bounds(self, bounds):
        shown = []
        for bound in bounds:
            if "trait_bound" in bound:
                inner = bound["trait_bound"]
                mark = {"maybe": "?", "maybe_const": "~const "}.get(inner["modifier"], "")
                higher = self.higher(inner["generic_params"])
                shown.append(mark + higher + self.path(inner["trait"]))
            elif "outlives" in bound:
                shown.append(bound["outlives"])
            elif "use" in bound:
                names = [use if isinstance(use, str) else next(iter(use.values()))
                         for use in bound["use"]]
                shown.append(f"use<{', '.join(names)}>")
        return " + ".join(shown)

    def higher(self, params):
        return f"for<{', '.join(p['name'] for p in params)}> " if params else ""

    def generics(self, generics, outer=""):
        """The parameters in brackets, and the where clause with `outer` before it."""
        params, where = [], [outer.removeprefix(" where ")] if outer else []
        for param in generics["params"]:
            kind, inner = next(iter(param["kind"].items()))
            if kind == "lifetime":
                outlives = " + ".join(inner["outlives"])
                params.append(param["name"] + (f": {outlives}" if outlives else ""))
            elif kind == "const":
                params.append(f"const {param['name']}: {self.type(inner['type'])}")
            elif not inner["is_synthetic"]:
                default = f" = {self.type(inner['default'])}" if inner["default"] else ""
                params.append(param["name"] + default)
                if inner["bounds"]:
                    where.append(f"{param['name']}: {self.bounds(inner['bounds'])}")
        for predicate in generics["where_predicates"]:
            kind, inner = next(iter(predicate.items()))
            if kind == "bound_predicate":
                higher = self.higher(inner["generic_params"])
                where.append(f"{higher}{self.type(inner['type'])}: {self.bounds(inner['bounds'])}")
            elif kind == "lifetime_predicate":
                where.append(f"{inner['lifetime']}: {' + '.join(inner['outlives'])}")
            else:
                where.append("..")
        return (f"<{', '.join(params)}>" if params else "",
                f" where {', '.join(where)}" if where else "")

    def function(self, inner, path, where=""):
        header, sig = inner["header"], inner["sig"]
        generics, where = self.generics(inner["generics"], where)
        words = "".join(f"{word} " for word in ("const", "async", "unsafe")
                        if header[f"is_{word}"])
        inputs = [self.input(name, type) for name, type in sig["inputs"]]
        output = self.output(sig["output"])
        return f"{words}fn {path}{generics}({', '.join(inputs)}){output}{where}"

    def input(self, name, type):
        shown = self.type(type)
        if name != "self":
            return f"{name}: {shown}"
        receiver = re.sub(r"\bSelf\b", "self", shown)
        return receiver if re.fullmatch(r"(&('\w+ )?(mut )?)?self", receiver) else f"self: {shown}"
