"""Group tests: what is averaged, tested, refused, named, and how the result projects."""

import numpy as np
import pytest
import xarray as xr
from inference_cases import as_maps, every_flip, plain_p_values, plain_t, smooth_noise
from scipy import stats

import neurosal
from neurosal.errors import ArgumentError, DataError
from neurosal.inference import group_test, subject_means, thresholded

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture
def noise():
    return smooth_noise(np.random.default_rng(0), 9, 3, 5)


def windows_of(values, counts, condition):
    """Several windows a subject whose means are ``values`` (subject, time, region)."""
    rng = np.random.default_rng(1)
    parts = []
    for mean, count in zip(values, counts, strict=True):
        spread = rng.standard_normal((count, *mean.shape))
        parts.append(mean + 5 * (spread - spread.mean(axis=0)))
    maps = as_maps(np.concatenate(parts), condition=condition)
    names = np.repeat([f"s{i:02d}" for i in range(len(values))], counts)
    return maps.assign_coords(subject=("sample", names))


def plain_fdr(p):
    """Benjamini and Hochberg, step by step."""
    order = np.argsort(p)
    q, lowest = np.empty(len(p)), 1.0
    for rank in range(len(p), 0, -1):
        lowest = min(lowest, p[order[rank - 1]] * len(p) / rank)
        q[order[rank - 1]] = lowest
    return q


def test_subjects_are_the_unit_whatever_their_number_of_windows(noise):
    counts = [1, 2, 3, 4, 5, 6, 7, 8, 9]
    maps = xr.concat(
        [windows_of(noise, counts, "rh"), windows_of(2 - noise, counts[::-1], "lh")], "sample"
    )
    shuffled = maps[np.random.default_rng(2).permutation(len(maps))].transpose("region", ...)
    means = subject_means(shuffled)
    assert means.dims == ("condition", "subject", "time", "region")
    np.testing.assert_allclose(means.sel(condition="rh"), noise, atol=1e-12)
    xr.testing.assert_identical(subject_means(shuffled.chunk(sample=7)), means)
    result = group_test(shuffled)
    assert result["condition"].values.tolist() == ["lh", "rh"]
    assert result["t"].dims == ("condition", "time", "region")
    np.testing.assert_allclose(
        result["t"].sel(condition="rh").values.ravel(), plain_t(noise.reshape(9, -1)), rtol=1e-9
    )
    assert result.attrs["n_subjects"] == 9
    assert result.attrs["n_windows"] == 90


@pytest.mark.parametrize("tail", ["two-sided", "greater", "less"])
def test_every_correction_equals_its_plain_definition(noise, tail):
    flat = noise.reshape(9, -1)
    side = {"two-sided": np.abs, "greater": lambda t: t, "less": lambda t: -t}[tail]
    alone, largest = plain_p_values(flat, every_flip(9), side)
    p_t = stats.ttest_1samp(flat, 0, alternative=tail).pvalue
    expected = {"none": alone, "max-t": largest, "fdr": plain_fdr(p_t)}
    for correction, p in expected.items():
        result = group_test(as_maps(noise), correction=correction, tail=tail, alpha=0.3)
        np.testing.assert_allclose(result["p"].values.ravel(), p, atol=1e-12)
        np.testing.assert_allclose(result["p_uncorrected"].values.ravel(), alone, atol=1e-12)
        np.testing.assert_allclose(result["p_t"].values.ravel(), p_t, atol=1e-12)
        np.testing.assert_array_equal(result["significant"], result["p"] <= 0.3)
    assert result.attrs["smallest_p"] == 0
    assert result.attrs["exact"] == "yes"
    assert result.attrs["test"] == "Student's t over subjects"


def test_a_pair_is_tested_by_the_differences_within_subjects(noise):
    other = np.random.default_rng(3).standard_normal(noise.shape) + 3 * noise
    paired = group_test(as_maps({"rh": other, "lh": noise}), contrast=("rh", "lh"))
    plain = group_test(as_maps(other - noise))
    for name in ("mean", "t", "p", "dz", "dz_low", "ci_high", "p_uncorrected"):
        np.testing.assert_allclose(paired[name], plain[name], rtol=1e-9, atol=1e-12)
    assert paired["condition"].item() == "rh - lh"
    assert paired["p"].dims == ("time", "region")
    swapped = group_test(as_maps({"rh": other, "lh": noise}), contrast=("lh", "rh"))
    np.testing.assert_allclose(swapped["t"], -paired["t"])
    single = group_test(as_maps({"rh": other, "lh": noise}), contrast="lh")
    np.testing.assert_allclose(single["p"], group_test(as_maps(noise))["p"])
    assert single["condition"].item() == "lh"


def test_a_family_of_all_conditions_is_corrected_together(noise):
    other = np.random.default_rng(3).standard_normal(noise.shape)
    together = group_test(as_maps({"lh": noise, "rh": other}), family="all")
    joined = np.concatenate([noise, other], axis=2)
    expected = group_test(as_maps(joined))["p"].values
    found = np.concatenate(list(together["p"].values), axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    apart = group_test(as_maps({"lh": noise, "rh": other}))
    assert np.all(apart["p"] <= together["p"])
    assert np.any(apart["p"] < together["p"])


def test_missing_and_constant_cells_are_named_and_change_nothing_else(noise):
    whole = group_test(as_maps(noise[:, :, [0, 1, 4]]))
    holes = noise.copy()
    holes[4, 1, 2] = np.nan
    holes[:, [0, 2], 2] = np.nan
    holes[:, :, 3] = 0.0
    with pytest.warns(UserWarning, match="not tested") as notes:
        result = group_test(as_maps(holes))
    texts = " ".join(str(note.message) for note in notes)
    assert "1 region(s) are NaN in some of the subjects (9 of 9) and are not tested there: r2" in (
        texts
    )
    assert "3 of 15 cells have the same value for every subject" in texts
    assert "1 region(s): r3" in texts
    np.testing.assert_allclose(result["p"][:, [0, 1, 4]], whole["p"], atol=1e-12)
    assert result["status"].values.tolist() == [[0, 0, 1, 2, 0]] * 3
    assert result["status"].attrs["flag_meanings"] == "tested missing constant"
    assert np.isnan(result["p"][:, [2, 3]]).all()
    assert not result["significant"][:, [2, 3]].any()
    shown = thresholded(result)
    assert np.isnan(shown[:, 2]).all()
    assert (shown[:, 3] == 0).all()


def test_what_is_not_tested_is_told_once_with_all_its_conditions(noise):
    first, second = noise.copy(), noise.copy()
    first[:, :, 3], second[:, :, 3:], second[4, 1, 2] = 0.0, 0.0, np.nan
    with pytest.warns(UserWarning, match="not tested") as notes:
        group_test(as_maps({"lh": first, "rf": noise, "rh": second}))
    assert [str(note.message).split(" (")[0] for note in notes] == [
        "1 region(s) of rh are NaN in some of the subjects",
        "9 of 30 cells of lh, rh have the same value for every subject",
    ]
    assert "(1 of 9) and are not tested there: r2" in str(notes[0].message)
    assert str(notes[1].message).endswith("they are of 2 region(s): r3, r4.")
    with pytest.warns(UserWarning, match="nothing can be significant") as notes:
        group_test(as_maps({"lh": noise[:4], "rh": noise[4:8]}))
    assert len(notes) == 1


def test_a_region_that_some_windows_lack_is_averaged_over_the_others(noise):
    maps = windows_of(noise, [2] * 9, "rh")
    maps[0, :, 1] = np.nan
    with pytest.warns(UserWarning, match=r"1 region\(s\) are NaN in some windows.*: r1"):
        means = subject_means(maps)
    np.testing.assert_allclose(means[0, 0, :, 1], maps[1, :, 1])


def test_subjects_without_a_condition_are_left_out_of_it_by_name(noise):
    maps = as_maps({"lh": noise, "rh": noise[::-1]})
    lacking = (maps["subject"] == "s03") & (maps["condition"] == "rh")
    with pytest.warns(UserWarning, match=r"1 subject\(s\) have no window of rh .* test: s03"):
        result = group_test(maps[~lacking])
    assert result["n_subjects"].values.tolist() == [9, 8]
    kept = np.delete(noise[::-1], 3, axis=0)
    expected = group_test(as_maps(kept))
    np.testing.assert_allclose(result["p"].sel(condition="rh"), expected["p"])
    with pytest.warns(UserWarning, match="no window of rh - lh"):
        assert group_test(maps[~lacking], contrast=("rh", "lh"))["n_subjects"] == 8


def test_importance_without_a_sign_is_refused_with_the_remedies(noise):
    maps = as_maps({"lh": np.abs(noise), "rh": np.abs(noise[::-1])}, attrs={"method": "vargrad"})
    with pytest.raises(ArgumentError) as refusal:
        group_test(maps)
    for part in (
        "'lh' (method 'vargrad') have one sign only", "signed method", "contrast=('a', 'b')",
        "center='map'", "tail='greater'",
    ):  # fmt: skip
        assert part in str(refusal.value)
    with pytest.raises(ArgumentError, match="tail='less'"):
        group_test(-maps, contrast="rh", center="map")
    with pytest.raises(ArgumentError, match=r"Got center='map' and tail='two-sided'"):
        group_test(maps, center="map")
    with pytest.raises(ArgumentError, match="one sign only"):
        group_test(maps - 1e-14)  # rounding is no sign
    assert group_test(maps, contrast=("lh", "rh"))["p"].notnull().all()
    assert group_test(maps, center="map", tail="greater")["p"].notnull().all()
    assert group_test(maps - maps.mean(("time", "region")))["p"].notnull().all()


def test_centring_asks_for_more_than_the_average_cell():
    rng = np.random.default_rng(5)
    values = rng.uniform(0, 1, (14, 4, 6)) + np.array([0, 0, 0, 4.0])[:, None]  # late is larger
    values[:, 3, 2] += 3.0
    values[:, :, 5] = 0.0  # screened
    over_map, over_time = (values[:, :, :5].mean(axis=axis, keepdims=True) for axis in ((1, 2), 2))
    for center, mean in (("map", over_map), ("time", over_time)):
        with pytest.warns(UserWarning, match="same value for every subject"):
            result = group_test(as_maps(values), center=center, tail="greater")
        expected = group_test(as_maps(values[:, :, :5] - mean), tail="greater")
        np.testing.assert_allclose(result["p"][:, :5], expected["p"], atol=1e-12)
        assert (result["status"][:, 5] == 2).all()
        assert np.isnan(result["mean"][:, 5]).all()
        expected = [True] * 5 if center == "map" else [False, False, True, False, False]
        assert result["significant"].values[3, :5].tolist() == expected


def test_regions_that_are_alike_do_not_differ_from_their_mean():
    """What is left of them after centring is rounding, which would be tested as importance."""
    alike = np.repeat(np.random.default_rng(5).random((10, 6, 1)), 7, axis=2)
    with pytest.raises(DataError, match="No cell can be tested"):
        group_test(as_maps(alike), center="time", tail="greater")


def test_too_few_subjects_are_told_that_nothing_can_be_significant(noise):
    with pytest.warns(UserWarning, match=r"With 5 subjects .* can give is 0.0625"):
        group_test(as_maps(noise[:5]))
    group_test(as_maps(noise[:5]), tail="greater")
    group_test(as_maps(noise[:4]), correction="fdr")
    with pytest.warns(UserWarning, match=r"can give is 0.1"):
        group_test(as_maps(noise), n_permutations=9)
    with pytest.raises(DataError, match=r"1 subject\(s\) have maps: a test over subjects needs"):
        group_test(as_maps(noise[:1]))


def test_the_smallest_p_is_reached_by_subjects_that_all_agree(noise):
    for tail, smallest in (("two-sided", 2**-8), ("greater", 2**-9)):
        result = group_test(as_maps(np.concatenate([noise, noise + 50], axis=2)), tail=tail)
        assert result["p"].min() == smallest == result.attrs["smallest_p"]


def test_results_project_and_survive_a_file(tmp_path):
    atlas = neurosal.load_atlas("dosenbach160")
    names = atlas.regions["name"].to_numpy()
    values = np.random.default_rng(6).standard_normal((10, 3, 160))
    values[:, 1, 7] += 4.0
    maps = as_maps(values).assign_coords(region=names)
    result = group_test(maps)
    shown = thresholded(result)
    assert np.argwhere(shown.values).tolist() == [[1, 7]]
    assert shown.values[1, 7] == pytest.approx(values[:, 1, 7].mean())
    back = neurosal.from_nifti(neurosal.to_nifti(shown, atlas), atlas)
    np.testing.assert_array_equal(back, shown.astype("float32"))
    assert thresholded(result, variable="dz", fill=np.nan).notnull().sum() == 1
    with pytest.raises(ArgumentError, match="variable must be one of 'mean'"):
        thresholded(result, variable="z")
    result.to_netcdf(tmp_path / "group.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "group.nc", engine="h5netcdf") as stored:
        xr.testing.assert_identical(stored.load()["p"], result["p"])
        assert stored.attrs["correction"] == "max-t"
        assert stored["significant"].dtype == bool


def test_other_errors_name_the_argument_and_the_remedy(noise):
    maps = as_maps({"lh": noise, "rh": noise})
    for options, message in (
        ({"correction": "bonferroni"}, "correction must be one of 'max-t', 'cluster'"),
        ({"center": "region"}, "center must be one of None, 'map', 'time'"),
        ({"family": "both"}, "family must be one of"),
        ({"alpha": 5}, "alpha must be a finite number above 0 and below 1. Got 5"),
        ({"alpha": "0.05"}, "alpha must be a finite number"),
        ({"n_permutations": 1e4}, r"n_permutations must be a whole number .* Got 10000\.0"),
        ({"n_permutations": None}, "n_permutations must be a whole number"),
        ({"contrast": ("lh", "lh")}, "contrast must be a condition, a pair of two conditions"),
        ({"contrast": ("lh", "tongue")}, "condition must be one of 'lh', 'rh'. Got 'tongue'"),
    ):
        with pytest.raises(ArgumentError, match=message):
            group_test(maps, **options)
    with pytest.raises(ArgumentError, match="need the coordinate 'subject' on 'sample'"):
        group_test(maps.drop_vars("subject"))
    with pytest.raises(ArgumentError, match=r"dimensions .*'region'\), .* Got ndarray"):
        group_test(noise)
    with pytest.raises(ArgumentError, match="no coordinate 'condition'"):
        group_test(as_maps(noise), contrast="lh")
    half = windows_of(noise, [2] * 9, "lh")
    half[5] = np.nan
    with pytest.raises(DataError, match="1 of 2 maps of subject s02 are NaN in every cell"):
        group_test(half)
    with pytest.raises(DataError, match="s00 hold infinite values"):
        group_test(as_maps(np.where(noise == noise[0, 0, 0], np.inf, noise)))
    with pytest.raises(DataError, match="No cell can"):
        group_test(as_maps(noise * 0))
