"""What ONTAP keeps: volumes, qtrees, quota rules, quota reports, and what may be asked of them.

Each directory in DIR/mnt is a volume of the SVM "svm1", and each subvolume in one a qtree. As on ONTAP, a rule for a
new target becomes active by itself only where quotas were switched on with a default rule of its kind.

A handler gets the state, the query, the body and the parts of the path. It answers with the rows of a list, or with a
function that does the work of a job.
"""

import os
import re
import uuid

import appliance

SVM = {"name": "svm1", "uuid": str(uuid.uuid5(uuid.NAMESPACE_DNS, "svm1"))}
DEFAULT = ""
BLOCK = 4096


class Refused(Exception):
    """An error as ONTAP words it; a job's has no HTTP status."""

    def __init__(self, status, code, message, target=None):
        super().__init__(message)
        self.status = status
        self.error = {"message": message, "code": str(code), **({"target": target} if target else {})}


def absent(target="uuid"):
    return Refused(404, 4, "entry doesn't exist", target)


def wrong(message, target=None):
    return Refused(400, 262197, message, target)


def known(names, fields):
    for name in fields:
        if name not in names.split():
            raise Refused(400, 262179, f'Unexpected argument "{name}".', name)


def volumes(state):
    kept = state.setdefault("volumes", {})
    for entry in os.scandir(appliance.MNT):
        if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
            fresh = {"uuid": str(uuid.uuid4()), "quota": "off", "tracked": False, "last": 0, "ids": {}}
            kept.setdefault(entry.name, fresh)
    return kept


def volume_of(state, fields):
    for name, volume in volumes(state).items():
        if fields.get("volume.uuid", volume["uuid"]) == volume["uuid"] and fields.get("volume.name", name) == name:
            return name, volume
    raise Refused(404, 917525, "The specified volume does not exist in SVM svm1.", "volume")


def reference(name, volume):
    return {"svm": SVM, "volume": {"name": name, "uuid": volume["uuid"]}}


def place(volume, qtree):
    return appliance.MNT / volume / qtree


def qtrees(name, volume):
    """The qtrees of a volume and their numbers; those that a client removed have none."""
    top = appliance.MNT / name
    found = {entry.name for entry in os.scandir(top) if appliance.subvolume(entry.path)} if top.is_dir() else set()
    volume["ids"] = {qtree: number for qtree, number in volume["ids"].items() if qtree in found}
    for qtree in sorted(found - volume["ids"].keys()):
        volume["last"] += 1
        volume["ids"][qtree] = volume["last"]
    return volume["ids"]


def rules(state):
    return state.setdefault("rules", {})


def limits(state, name):
    """The limits that the active rules of a volume say, by qtree."""
    mine = (rule for rule in rules(state).values() if rule["volume"] == name)
    return {rule["qtree"]: rule["hard"] for rule in mine if rule["active"]}


def enforce(volume, qtree, most):
    if qtree != DEFAULT and appliance.subvolume(place(volume, qtree)):
        appliance.limit(place(volume, qtree), most)


def resize(state, rule, verb, bytes_now):
    """Has a rule that was written take effect, where quotas are on; what its job says where that cannot be."""
    name, volume = rule["volume"], volumes(state)[rule["volume"]]
    if volume["quota"] == "off":
        return
    # Only a target that is counted already can have a limit of its own, or lose it.
    if not volume["tracked"] and (verb == "delete" or not rule["active"]):
        message = f"Quota policy rule {verb} operation succeeded, but what is enforced is not changed by it."
        raise Refused(None, 5308572, f"{message} Disable and enable quotas for volume {name} in SVM svm1.")
    rule["active"] = True
    enforce(name, rule["qtree"], bytes_now)


def get_volumes(state, _):
    for name, volume in volumes(state).items():
        yield volume["uuid"], {"uuid": volume["uuid"], "name": name, "svm": SVM, "quota": {"state": volume["quota"]}}


def patch_volume(state, body, number):
    known("quota.enabled", body)
    name = next((name for name, volume in volumes(state).items() if volume["uuid"] == number), None)
    if name is None:
        raise absent()
    enable = {True: True, False: False, "true": True, "false": False}.get(body.get("quota.enabled"))
    if enable is None:
        raise wrong("The value of quota.enabled is true or false.", "quota.enabled")

    def switch(state):
        volume = volumes(state)[name]
        if enable and volume["quota"] == "on":
            raise Refused(None, 5308507, f"Quotas are already on for volume {name} in SVM svm1.")
        for rule in rules(state).values():
            rule["active"] = enable if rule["volume"] == name else rule["active"]
        said = limits(state, name)
        if enable and not said:
            raise Refused(None, 5308503, f"There are no quota rules for volume {name} in SVM svm1.")
        volume["quota"], volume["tracked"] = ("on", DEFAULT in said) if enable else ("off", False)
        for qtree in qtrees(name, volume):
            enforce(name, qtree, said.get(qtree, said.get(DEFAULT)) if enable else None)

    return switch


def get_qtrees(state, _):
    for name, volume in volumes(state).items():
        for qtree, number in {DEFAULT: 0, **qtrees(name, volume)}.items():
            yield f"{volume['uuid']}/{number}", {**reference(name, volume), "id": number, "name": qtree}


def post_qtree(state, body):
    known("svm.name svm.uuid volume.name volume.uuid name security_style unix_permissions export_policy.name", body)
    name, _ = volume_of(state, body)
    qtree = body.get("name", "")
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", qtree):
        raise wrong(f'The name "{qtree}" is not valid for a qtree.', "name")

    def create(state):
        if os.path.lexists(place(name, qtree)):
            raise Refused(None, 5242886, f"Failed to create qtree {qtree} in volume {name} in SVM svm1: it exists.")
        appliance.make(place(name, qtree))
        volume = volumes(state)[name]
        qtrees(name, volume)
        if volume["tracked"]:
            enforce(name, qtree, limits(state, name).get(DEFAULT))

    return create


def delete_qtree(state, _, volume_number, number):
    name, volume = volume_of(state, {"volume.uuid": volume_number})
    qtree = next((qtree for qtree, n in qtrees(name, volume).items() if str(n) == number), None)
    if qtree is None:
        raise absent("id")

    def delete(state):
        appliance.delete(place(name, qtree))
        kept = {n: rule for n, rule in rules(state).items() if (rule["volume"], rule["qtree"]) != (name, qtree)}
        state["rules"] = kept

    return delete


def get_rules(state, _):
    for number, rule in rules(state).items():
        row = {**reference(rule["volume"], volumes(state)[rule["volume"]]), "uuid": number, "type": "tree"}
        row["qtree"] = {"name": rule["qtree"]}
        row["space"] = {"hard_limit": rule["hard"]} if rule["hard"] else {}
        yield number, row


def limit_in(body):
    most = body.get("space.hard_limit")
    if most is not None and (not isinstance(most, int) or most <= 0):
        raise wrong("The value of space.hard_limit is not valid.", "space.hard_limit")
    return most and -(-most // BLOCK) * BLOCK


def post_rule(state, body):
    known("svm.name svm.uuid volume.name volume.uuid type qtree.name space.hard_limit space.soft_limit", body)
    name, _ = volume_of(state, body)
    if body.get("type") != "tree" or "qtree.name" not in body:
        raise wrong("The stand-in knows rules of the type tree, for a qtree, only.", "type")
    qtree, hard = body["qtree.name"], limit_in(body)
    if any((rule["volume"], rule["qtree"]) == (name, qtree) for rule in rules(state).values()):
        raise Refused(409, 5308552, f'A tree rule for "{qtree}" exists in volume {name} in SVM svm1.')
    if qtree != DEFAULT and not appliance.subvolume(place(name, qtree)):
        raise Refused(400, 5308564, f"Qtree {qtree} does not exist in volume {name} in SVM svm1.", "qtree.name")

    def create(state):
        rule = {"volume": name, "qtree": qtree, "hard": hard, "active": False}
        rules(state)[str(uuid.uuid4())] = rule
        resize(state, rule, "create", hard)

    return create


def patch_rule(state, body, number):
    known("space.hard_limit space.soft_limit", body)
    if number not in rules(state):
        raise absent()
    hard = limit_in(body)

    def modify(state):
        rule = rules(state)[number]
        rule["hard"] = hard
        resize(state, rule, "modify", hard)

    return modify


def delete_rule(state, _, number):
    if number not in rules(state):
        raise absent()

    def delete(state):
        rule = rules(state).pop(number)
        resize(state, rule, "delete", limits(state, rule["volume"]).get(DEFAULT))

    return delete


def get_reports(state, _):
    used = appliance.usage()
    for name, volume in volumes(state).items():
        if volume["quota"] == "off":
            continue
        said, targets = limits(state, name), qtrees(name, volume)
        rows = {"*": 0, **targets} if volume["tracked"] else {q: n for q, n in targets.items() if q in said}
        for qtree, number in rows.items():
            hard = said.get(qtree, said.get(DEFAULT))
            total = 0 if qtree == "*" else used.get(appliance.subvolume(place(name, qtree)), 0)
            row = {**reference(name, volume), "index": number, "type": "tree", "specifier": qtree}
            row["qtree"] = {"name": qtree, "id": number}
            row["space"] = {**({"hard_limit": hard} if hard else {}), "used": {"total": total}}
            yield f"{volume['uuid']}/{number}", row
